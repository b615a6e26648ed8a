//! Writes the seeds of the fuzz targets into their corpus folders.

use std::fs;

use guestfs_tests::fuzz::{corpus, seeds};

fn main() -> std::io::Result<()> {
    for seed in seeds::all() {
        let folder = corpus(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(seed.name), seed.bytes)?;
    }
    Ok(())
}
