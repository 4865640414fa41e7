//! What people read of a run, word for word: against the files of `tests/golden/report` (`UPDATE_GOLDEN=1` writes them anew).

mod browser;
mod canaries;
mod comment;
mod cost;
mod documents;
mod files;
mod golden;
mod live;
mod log;
mod page;
mod sample;
mod views;

pub use documents::fits;
