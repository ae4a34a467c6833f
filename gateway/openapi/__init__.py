"""The declarations of endpoints, and the OpenAPI document generated from them."""
