"""A device that another process holds: the client's side of the service in `groundglass.service`."""
