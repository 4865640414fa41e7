//! What somebody meets first: init, check, doctor, and what the program says of itself.

mod check;
mod doctor;
mod init;
mod itself;
