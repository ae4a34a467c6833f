"""The handlers of each resource, with their request and response shapes."""
