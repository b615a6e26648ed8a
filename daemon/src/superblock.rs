//! Tells what a device holds by the marks in its first blocks, without running a program.
