//! Images that QEMU's own tool has made are read as that tool reads them; damaged ones do no harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_appliance::vm::Format;
use tempfile::TempDir;

use super::super::image::{Image, Read};

const DISK_BYTES: usize = 6 << 20;

/// A folder with a raw disk that has data, zeros, and long runs of both.
struct Scene {
    folder: TempDir,
    disk: Vec<u8>,
}

impl Scene {
    /// `None` when this machine has no qemu-img.
    fn new() -> Option<Scene> {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        }
        let mut disk = vec![0; DISK_BYTES];
        for (start, length, step) in
            [(0, 70_000, 7), (131_072, 512, 5), (1 << 20, 2_000_000, 3), (DISK_BYTES - 700, 700, 11)]
        {
            for (index, byte) in disk[start..start + length].iter_mut().enumerate() {
                *byte = u8::try_from((index * step + index / 4096) % 251).unwrap();
            }
        }
        let scene = Scene { folder: tempfile::tempdir().unwrap(), disk };
        fs::write(scene.path("raw"), &scene.disk).unwrap();
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn qemu_img(&self, arguments: &[&str]) {
        let mut command = Command::new("qemu-img");
        let output = command.current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn convert(&self, options: &[&str], target: &str) -> PathBuf {
        let begin = ["convert", "-f", "raw", "-O", "qcow2"];
        self.qemu_img(&[&begin[..], options, &["raw", target]].concat());
        self.path(target)
    }

    /// Reads the whole disk in steps that fit nothing; gives how many bytes only QEMU can read.
    fn unknown_bytes(&self, path: &Path) -> usize {
        let image = Image::open(path, Format::Qcow2).unwrap();
        assert_eq!(image.size(), u64::try_from(DISK_BYTES).unwrap());
        let mut unknown = 0;
        for start in (0..DISK_BYTES).step_by(100_003) {
            let length = 100_003.min(DISK_BYTES - start);
            let mut bytes = b"kept".to_vec();
            match image.read(u64::try_from(start).unwrap(), length, &mut bytes).unwrap() {
                Read::Done => {
                    assert!(
                        bytes[..4] == *b"kept" && bytes[4..] == self.disk[start..start + length],
                        "{start}"
                    );
                }
                Read::Unknown => unknown += length,
            }
        }
        unknown
    }
}

#[test]
fn every_version_and_size_of_clusters_is_read() {
    let Some(scene) = Scene::new() else { return };
    for compatibility in ["0.10", "1.1"] {
        for cluster in ["512", "4096", "65536", "2097152"] {
            let options = format!("compat={compatibility},cluster_size={cluster}");
            let image = scene.convert(&["-o", &options], "image");
            assert_eq!(scene.unknown_bytes(&image), 0, "{options}");
        }
    }
}

#[test]
fn clusters_that_were_allocated_and_not_written_are_zeros() {
    let Some(scene) = Scene::new() else { return };
    for preallocation in ["metadata", "falloc", "full"] {
        let option = format!("preallocation={preallocation}");
        let image = scene.convert(&["-o", &option], "image");
        // What QEMU reads as zeros because the file ends before it is left to QEMU.
        let unknown = scene.unknown_bytes(&image);
        assert!(unknown == 0 || preallocation == "metadata", "{preallocation}: {unknown}");
    }
}

#[test]
fn compressed_clusters_are_left_to_qemu() {
    let Some(scene) = Scene::new() else { return };
    for kind in ["zlib", "zstd"] {
        let option = format!("compression_type={kind}");
        let image = scene.convert(&["-c", "-o", &option], "image");
        assert!(scene.unknown_bytes(&image) > 2_000_000, "{kind}");
    }
}

#[test]
fn an_internal_snapshot_does_not_show() {
    let Some(mut scene) = Scene::new() else { return };
    let image = scene.convert(&[], "image");
    scene.qemu_img(&["snapshot", "-c", "before", "image"]);
    let mut command = Command::new("qemu-io");
    match command
        .args(["-f", "qcow2", "-c", "write -P 9 1m 200k", "-c", "write -z 2m 128k"])
        .arg(&image)
        .output()
    {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => return eprintln!("skipped: qemu-io is not installed"),
    }
    scene.disk[1 << 20..(1 << 20) + (200 << 10)].fill(9);
    scene.disk[2 << 20..(2 << 20) + (128 << 10)].fill(0);
    assert_eq!(scene.unknown_bytes(&image), 0);
}

#[test]
fn images_with_more_to_understand_are_left_to_qemu() {
    let Some(scene) = Scene::new() else { return };
    let refused = |path: &Path| Image::open(path, Format::Qcow2).unwrap_err().to_string();
    assert_eq!(
        refused(&scene.convert(&["-o", "extended_l2=on"], "image")),
        "only QEMU understands a feature it has"
    );
    let external = scene.convert(&["-o", "data_file=data,data_file_raw=on"], "image");
    assert_eq!(refused(&external), "only QEMU understands a feature it has");
    scene.qemu_img(&["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay"]);
    assert_eq!(refused(&scene.path("overlay")), "only QEMU understands its backing file");
    let secret =
        ["--object", "secret,id=key,data=secret", "-o", "encrypt.format=luks,encrypt.key-secret=key"];
    let secret = [&["create", "-q", "-f", "qcow2"][..], &secret, &["locked", "1M"]].concat();
    scene.qemu_img(&secret);
    assert_eq!(refused(&scene.path("locked")), "only QEMU understands its encryption");
    assert!(refused(&scene.path("raw")).contains("its header"));
}

#[test]
fn a_damaged_image_is_refused_or_read_as_it_is() {
    let Some(scene) = Scene::new() else { return };
    let original = fs::read(scene.convert(&["-o", "cluster_size=4096"], "image")).unwrap();
    let damaged = scene.path("damaged");
    // A generator of no quality, the same each time.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..300 {
        let mut bytes = original.clone();
        // The header, then the tables, which come first in what qemu-img writes.
        let reach = if round % 2 == 0 { 104 } else { 40_000 };
        for _ in 0..=random(8) {
            bytes[random(reach)] = u8::try_from(random(256)).unwrap();
        }
        if round % 5 == 0 {
            bytes.truncate(random(original.len()));
        }
        fs::write(&damaged, &bytes).unwrap();
        let Ok(image) = Image::open(&damaged, Format::Qcow2) else { continue };
        for offset in [0, 1 << 20, 5 << 20, u64::MAX - 10_000, image.size().saturating_sub(4096)] {
            let mut buffer = Vec::new();
            if let Ok(Read::Done) = image.read(offset, 10_000, &mut buffer) {
                assert_eq!(buffer.len(), 10_000);
            }
        }
    }
}
