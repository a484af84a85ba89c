//! Tests of the API as it is asked, in one program.

mod access;
mod document;
mod elsewhere;
mod million;
mod records;
mod sample;
mod served;
mod stream;
mod tls;
