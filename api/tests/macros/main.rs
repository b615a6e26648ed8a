//! The topic macro at work: one small topic, called and served in one process.

mod both_ways;
mod in_process;
mod layers;
mod metadata;
mod refusals;
mod topic;
