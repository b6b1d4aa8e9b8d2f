//! Checks configuration files and prints what is wrong: `cargo run --example check -- FILE...`.

use std::path::Path;

fn main() {
    for file in std::env::args().skip(1) {
        let path = Path::new(&file);
        match trunkline_config::load(path) {
            Ok(loaded) => {
                loaded
                    .warnings
                    .iter()
                    .for_each(|warning| println!("{}\n", warning.display(path)));
                println!("{file}: can be used");
            }
            Err(report) => println!("{report}\n"),
        }
    }
}
