//! Maps Linux errno names to the host's numbers and back.
