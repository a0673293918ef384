//! Trains the model from the data in `data/` and leaves it for `src/tables.rs` to embed.

use std::path::PathBuf;

#[path = "src/training.rs"]
#[expect(dead_code, unreachable_pub, reason = "the library and its evaluation use the rest")]
mod training;

fn main() {
    println!("cargo::rerun-if-changed=data");
    println!("cargo::rerun-if-changed=src/training.rs");
    if std::env::var_os("CARGO_FEATURE_MODEL").is_none() {
        return;
    }
    let out = std::env::var_os("OUT_DIR").expect("Cargo says where");
    let model = training::train(|_fold| true);
    let path = PathBuf::from(out).join("model.bin");
    std::fs::write(path, model.bytes()).expect("Cargo's folder can be written");
}
