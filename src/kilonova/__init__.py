"""Kilonova: an OpenStack-compatible compute cloud."""
