# Joins the networks of a flattened network_data.json to their links.
function or_none(value) { return value == "" ? "-" : value }
{ leaf[$1] = $2 }
END {
    for (n = 0; ("links." n ".id") in leaf; n++) {
        id = leaf["links." n ".id"]
        mac[id] = leaf["links." n ".ethernet_mac_address"]
        mtu[id] = leaf["links." n ".mtu"]
    }
    for (n = 0; ("networks." n ".type") in leaf; n++) {
        at = "networks." n "."
        gateway = ""
        for (r = 0; (at "routes." r ".network") in leaf; r++)
            if (leaf[at "routes." r ".network"] == "0.0.0.0") gateway = leaf[at "routes." r ".gateway"]
        link = leaf[at "link"]
        size = mtu[link] == "null" ? "" : mtu[link]
        print leaf[at "type"], or_none(mac[link]), or_none(size), \
            or_none(leaf[at "ip_address"]), or_none(leaf[at "netmask"]), or_none(gateway)
    }
}
