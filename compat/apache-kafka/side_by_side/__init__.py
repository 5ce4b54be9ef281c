"""Apache Kafka and Floe asked the same, and their answers compared field by field."""
