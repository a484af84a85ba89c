//! Tests of the API as it is asked, in one program.

mod access;
mod document;
mod elsewhere;
mod million;
mod provider;
mod records;
mod sample;
mod served;
mod sign_on;
mod stream;
mod tls;
