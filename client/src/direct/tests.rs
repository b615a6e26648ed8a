use std::io::Write;
use std::sync::atomic::AtomicBool;

use guestfs_api::records::{FileExtent, FileMap};
use guestfs_api::xdr::{DecodeError, Decoder, Encode};
use guestfs_api::{Call, Procedure, Remote, Request};
use guestfs_appliance::vm::Format;
use tempfile::NamedTempFile;

use super::image::Image;
use super::*;

/// A daemon with files whose first byte of the handle is their number. Each has 20,000 bytes of its number, lies at the
/// beginning of the disk, and its map says what the test wants.
#[derive(Default)]
struct Daemon {
    map: Option<FileMap>,
    calls: Arc<Mutex<Vec<(&'static str, usize)>>>,
}

const FILE_BYTES: u64 = 20_000;

impl Call for Daemon {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let arguments = request.arguments.into_bytes();
        let mut arguments = Decoder::new(&arguments);
        let note = |count| self.calls.lock().push((procedure.name, count));
        match procedure.name {
            "node_maps" => {
                let nodes: Vec<NodeRecord> = arguments.value().unwrap();
                note(nodes.len());
                let map = self.map.clone().map_or(NodeMap::Unknown(WhyUnknown::Filesystem), NodeMap::Known);
                Ok(vec![map; nodes.len()].to_xdr())
            }
            "node_open" => {
                note(1);
                let node: NodeRecord = arguments.value().unwrap();
                Ok(u64::from(node.handle[0]).to_xdr())
            }
            "node_read" => {
                note(1);
                let (handle, offset): (u64, u64) = (arguments.value().unwrap(), arguments.value().unwrap());
                let count =
                    u64::from(arguments.value::<u32>().unwrap()).min(FILE_BYTES.saturating_sub(offset));
                Ok(vec![u8::try_from(handle).unwrap(); usize::try_from(count).unwrap()].to_xdr())
            }
            "node_release" => {
                note(1);
                Ok(Vec::new())
            }
            other => Err(Failure::plain(format!("{other} is not part of this test"))),
        }
    }

    fn malformed_reply(&self, _: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(error.to_string())
    }
}

/// A raw disk of 64 KiB whose bytes are 7.
struct Scene {
    image: NamedTempFile,
    is_written: Arc<AtomicBool>,
    calls: Arc<Mutex<Vec<(&'static str, usize)>>>,
    nodes: DirectNodes<Remote<Daemon>>,
}

fn scene(map: Option<FileMap>) -> Scene {
    let mut image = NamedTempFile::new().unwrap();
    image.write_all(&[7; 65536]).unwrap();
    let opened = Image::open(image.path(), Format::Raw).unwrap();
    let is_written = Arc::new(AtomicBool::new(false));
    let for_watch = Arc::clone(&is_written);
    let disks = Disks::new(
        vec![Some(opened)],
        Box::new(move || Ok(for_watch.load(Ordering::SeqCst).then_some(0).into_iter().collect())),
    );
    let daemon = Daemon { map, ..Daemon::default() };
    let calls = Arc::clone(&daemon.calls);
    Scene { image, is_written, calls, nodes: DirectNodes::new(Remote(daemon), disks) }
}

fn whole() -> Option<FileMap> {
    let extents = vec![FileExtent { offset: 0, length: 20_480, disk_offset: Some(4096) }];
    Some(FileMap { size: FILE_BYTES, drive: 0, extents })
}

impl Scene {
    fn calls(&self) -> Vec<(&'static str, usize)> {
        std::mem::take(&mut self.calls.lock())
    }

    fn open(&self, number: u8) -> u64 {
        Nodes::node_open(&self.nodes, &node(number), open_flags::READ).unwrap()
    }

    fn read(&self, handle: u64, offset: u64, count: u32) -> Vec<u8> {
        Nodes::node_read(&self.nodes, handle, offset, count).unwrap()
    }

    /// Reads all of a file in one call; says by whom it was answered.
    fn reader(&self, number: u8) -> &'static str {
        let data = self.read(self.open(number), 0, 1 << 20);
        assert_eq!(data.len(), 20_000);
        match data[0] {
            7 => "image",
            found if found == number => "daemon",
            found => panic!("byte {found}"),
        }
    }
}

fn node(number: u8) -> NodeRecord {
    NodeRecord { filesystem: 3, handle: Box::from([number]) }
}

#[test]
fn a_file_with_a_map_is_read_without_the_daemon() {
    let scene = scene(whole());
    let handle = scene.open(1);
    assert_eq!(scene.read(handle, 100, 50), [7; 50]);
    assert_eq!(scene.read(handle, 19_990, 50), [7; 10]);
    assert!(scene.read(handle, 20_000, 50).is_empty());
    assert!(scene.read(handle, u64::MAX, 50).is_empty());
    Nodes::node_release(&scene.nodes, handle).unwrap();
    assert_eq!(scene.calls(), [("node_maps", 1)]);
    let closed = Nodes::node_read(&scene.nodes, handle, 0, 1).unwrap_err();
    assert_eq!(closed.errno, Some(Errno::EBADF));
}

#[test]
fn parts_without_a_place_come_from_the_daemon() {
    let extents = vec![
        FileExtent { offset: 0, length: 4096, disk_offset: Some(0) },
        FileExtent { offset: 8192, length: 4096, disk_offset: None },
    ];
    let scene = scene(Some(FileMap { size: FILE_BYTES, drive: 0, extents }));
    let handle = scene.open(1);
    let data = scene.read(handle, 0, 20_000);
    let mut expected = vec![0; 20_000];
    expected[..4096].fill(7);
    expected[8192..12_288].fill(1);
    assert!(data == expected);
    assert_eq!(scene.calls(), [("node_maps", 1), ("node_open", 1), ("node_read", 1)]);
    scene.read(handle, 8192, 10);
    Nodes::node_release(&scene.nodes, handle).unwrap();
    assert_eq!(scene.calls(), [("node_read", 1), ("node_release", 1)]);
}

#[test]
fn a_daemon_that_points_outside_of_the_image_is_not_believed_again() {
    let extents = vec![FileExtent { offset: 0, length: 4096, disk_offset: Some(65_536 - 4095) }];
    let scene = scene(Some(FileMap { size: FILE_BYTES, drive: 0, extents }));
    assert_eq!(scene.reader(1), "daemon");
    scene.calls();
    assert_eq!(scene.reader(2), "daemon");
    assert_eq!(scene.calls(), [("node_open", 1), ("node_read", 1)], "no further map is asked for");
}

#[test]
fn a_disk_the_vm_has_written_to_is_read_through_it() {
    let scene = scene(whole());
    scene.is_written.store(true, Ordering::SeqCst);
    assert_eq!(scene.reader(1), "daemon");
}

#[test]
fn a_file_that_is_open_when_the_disk_is_given_up_goes_on_through_the_vm() {
    let scene = scene(whole());
    let handle = scene.open(1);
    assert_eq!(scene.read(handle, 0, 4), [7; 4]);
    scene.nodes.disks.give_up();
    assert_eq!(scene.read(handle, 0, 4), [1; 4]);
    assert_eq!(scene.reader(2), "daemon");
}

#[test]
fn an_image_that_was_cut_is_read_through_the_vm_as_far_as_it_is_gone() {
    let scene = scene(whole());
    let handle = scene.open(1);
    scene.image.as_file().set_len(8192).unwrap();
    assert_eq!(scene.read(handle, 0, 4096), [7; 4096]);
    assert_eq!(scene.read(handle, 4096, 4096), [1; 4096]);
    assert_eq!(scene.read(handle, 0, 8192)[4095..4098], [1; 3], "a piece is read in one way or the other");
}

#[test]
fn a_file_system_without_maps_is_asked_once() {
    let scene = scene(None);
    for number in 1..4 {
        assert_eq!(scene.reader(number), "daemon");
    }
    assert_eq!(scene.calls().iter().filter(|(name, _)| *name == "node_maps").count(), 1);
}

#[test]
fn maps_of_listed_files_are_asked_for_together() {
    let scene = scene(whole());
    scene.nodes.siblings.lock().add((0..200).map(node));
    for number in 0..200 {
        assert_eq!(scene.reader(number), "image");
    }
    assert_eq!(scene.calls(), [("node_maps", 1), ("node_maps", 8), ("node_maps", 64), ("node_maps", 127)]);
}

#[test]
fn a_difference_is_counted_and_the_vms_bytes_are_given() {
    let differences = Arc::new(AtomicU64::new(0));
    let scene = scene(whole());
    let nodes = scene.nodes.verified(Arc::clone(&differences));
    for (number, byte, count) in [(7, 7, 0), (1, 1, 1)] {
        let handle = Nodes::node_open(&nodes, &node(number), open_flags::READ).unwrap();
        assert_eq!(Nodes::node_read(&nodes, handle, 0, 10).unwrap(), [byte; 10]);
        assert_eq!(differences.load(Ordering::SeqCst), count);
    }
}

#[test]
fn a_file_opened_to_be_written_is_the_daemons() {
    let scene = scene(whole());
    assert_eq!(Nodes::node_open(&scene.nodes, &node(5), open_flags::READ_WRITE).unwrap(), 5);
    assert_eq!(scene.calls(), [("node_open", 1)]);
}

#[test]
fn a_watch_that_fails_leaves_all_to_the_vm() {
    let image = NamedTempFile::new().unwrap();
    image.as_file().set_len(65_536).unwrap();
    let opened = Image::open(image.path(), Format::Raw).unwrap();
    let disks = Disks::new(vec![Some(opened)], Box::new(|| Err("no answer".to_owned())));
    assert!(!disks.look(), "it is not known");
    assert!(!disks.look(), "it is not known either");
    assert!(disks.has_any(), "what was told before still holds");
    let map = Some(FileMap { drive: 0, ..whole().unwrap() });
    let nodes = DirectNodes::new(Remote(Daemon { map, ..Daemon::default() }), disks);
    let handle = Nodes::node_open(&nodes, &node(5), open_flags::READ).unwrap();
    assert_eq!(Nodes::node_read(&nodes, handle, 0, 10).unwrap(), [5; 10]);
}
