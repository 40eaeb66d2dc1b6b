//! One projection generation's data plane.

mod status;

pub use status::{Counters, Histogram, PartitionStatus, ProjectionStatus, State};
