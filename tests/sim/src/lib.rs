//! Loopback simulator of the drives.
