//! Prints the page of the documentation that is made from the catalog.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(detect::reference::page().as_bytes())
}
