//! What people read of a run, word for word: against the files of `tests/golden/report` (`UPDATE_GOLDEN=1` writes them anew).

mod canaries;
mod comment;
mod documents;
mod files;
mod golden;
mod log;
mod page;
mod sample;
mod views;
