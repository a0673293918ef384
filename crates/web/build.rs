//! Stops a build without the browser libraries with one line that says what to run.

use std::path::Path;
use std::process::exit;

fn main() {
    let library = "assets/vendor/htmx.min.js";
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=templates");
    if !Path::new(library).exists() {
        println!(
            "cargo::error=the browser libraries are missing: run `make assets` (or `make build`)"
        );
        exit(1);
    }
}
