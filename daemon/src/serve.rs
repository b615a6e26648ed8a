//! The only place that replies.
