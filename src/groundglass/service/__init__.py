"""The device as a service: the secret in a process, a user and a host of its own, behind a door that counts and can be shut."""
