//! What bytes mean and what can be computed.
