"""What surrounds each request: middleware, decoding, envelope, rate limits, the server."""
