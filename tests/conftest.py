pytest_plugins = ["tests.backing_fixtures"]
