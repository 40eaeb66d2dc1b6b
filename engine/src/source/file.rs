//! Files.
pub struct FileSettings {}
pub struct FileSource {}
