"""How the parts of each layer are built from the settings; `hub.app` puts the layers together."""
