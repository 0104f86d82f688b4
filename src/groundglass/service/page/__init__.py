"""The operator's page: who is at the devices, what a guard has found, and a button for another matrix."""
