"""Messages we persist: records of internal topics, in the formats Kafka gives them, and bytes inside other messages."""
