//! Command lines and what they are understood as.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use guestfs::appliance::vm::QemuUser;

use super::*;
use crate::keys::{Asking, GivenKey};
use crate::request::{BlockSize, Format, Symlinks};

fn arguments(words: &[&str]) -> Vec<OsString> {
    ["guestmount"].iter().chain(words).map(OsString::from).collect()
}

fn request(words: &[&str]) -> Result<MountRequest, CliError> {
    match parse(arguments(words), Config::default())? {
        Invocation::Mount(request) => Ok(*request),
        Invocation::Print(text) => panic!("{text}"),
    }
}

fn printed(words: &[&str]) -> String {
    match parse(arguments(words), Config::default()).unwrap() {
        Invocation::Print(text) => text,
        Invocation::Mount(request) => panic!("{request:?}"),
    }
}

fn message(words: &[&str]) -> String {
    request(words).unwrap_err().to_string()
}

fn drive(image: &str, format: Option<Format>, block_size: Option<BlockSize>) -> GivenDrives {
    GivenDrives::Image(Drive { format, block_size, ..Drive::new(image, Access::ReadOnly) })
}

#[test]
fn the_shortest_command_line_mounts_read_only_in_the_background() {
    let expected = MountRequest {
        drives: vec![drive("disk.qcow2", None, None)],
        libvirt: Libvirt::default(),
        mounts: vec![GuestMount::parse("/dev/sda1".as_ref()).unwrap()],
        keys: KeyRequest::default(),
        discovery: Discovery::None,
        access: Access::ReadOnly,
        mountpoint: "/mnt".into(),
        options: MountOptions::default(),
        symlinks: Symlinks::Raw,
        is_owner_mapped: false,
        is_any_case_found: false,
        cache_lifetime: CACHE_LIFETIME_READ_ONLY,
        ready: ReadySignals::default(),
        is_foreground: false,
        is_autosync: true,
        direct: Direct::On,
        is_snapshot_used: true,
        qemu_user: QemuUser::Unprivileged,
        polls_when_busy: true,
        is_verbose: false,
        is_traced: false,
    };
    assert_eq!(request(&["-a", "disk.qcow2", "-m", "/dev/sda1", "/mnt"]).unwrap(), expected);
}

#[test]
fn every_option_reaches_the_request() {
    let request = request(&[
        "--format=raw",
        "--blocksize=4096",
        "--add",
        "a",
        "--mount",
        "/dev/sda1:/:acl",
        "-m",
        "/dev/sda2:/home",
        "--rw",
        "--no-sync",
        "--no-snapshot",
        "-o",
        "allow_other",
        "--option",
        "uid=5",
        "--fd=7",
        "--no-fork",
        "--pid-file",
        "p",
        "--symlinks=inside",
        "--map-owner",
        "--dir-cache-timeout",
        "5",
        "-v",
        "-x",
        "--no-busy-poll",
        "--qemu-user",
        "vm",
        "--selinux",
        "--echo-keys",
        "/mnt",
    ])
    .unwrap();
    let expected = Drive {
        format: Some(Format::Raw),
        block_size: Some(BlockSize::Bytes4096),
        ..Drive::new("a", Access::ReadWrite)
    };
    assert_eq!(request.drives, [GivenDrives::Image(expected)]);
    assert_eq!(request.mounts.len(), 2);
    assert_eq!(request.mounts[1].mountpoint.as_bytes(), b"/home");
    assert_eq!(request.access, Access::ReadWrite);
    assert_eq!(request.options, MountOptions::parse(&["allow_other,uid=5".into()]).unwrap());
    assert_eq!(request.cache_lifetime, Duration::from_secs(5));
    assert_eq!((request.symlinks, request.is_owner_mapped), (Symlinks::Inside, true));
    assert_eq!(request.ready, ReadySignals { pid_file: Some("p".into()), fd: Some(7) });
    assert_eq!(request.qemu_user, QemuUser::Named("vm".to_owned()));
    assert!(!request.is_snapshot_used && !request.polls_when_busy);
    assert!(request.is_foreground && !request.is_autosync && request.is_verbose && request.is_traced);
}

#[test]
fn format_and_block_size_belong_to_the_images_after_them() {
    let request = request(&[
        "-a",
        "probed",
        "--format=qcow2",
        "-a",
        "b",
        "--blocksize=4096",
        "-a",
        "c",
        "--format",
        "-a",
        "d",
        "--blocksize",
        "--format=raw",
        "-a",
        "e",
        "-m",
        "/dev/sda",
        "/mnt",
    ])
    .unwrap();
    let big = Some(BlockSize::Bytes4096);
    assert_eq!(
        request.drives,
        [
            drive("probed", None, None),
            drive("b", Some(Format::Qcow2), None),
            drive("c", Some(Format::Qcow2), big),
            drive("d", None, big),
            drive("e", Some(Format::Raw), None),
        ]
    );
}

#[test]
fn format_behind_the_last_image_is_an_error() {
    let words = ["-a", "a", "-m", "/dev/sda", "/mnt"];
    assert_eq!(
        message(&[&["--format=raw"], &words[..], &["--format=qcow2"]].concat()),
        "--format has no image to apply to; give it before the -a it is meant for"
    );
    assert!(message(&[&words[..], &["--blocksize=512"]].concat()).starts_with("--blocksize has no image"));
    for value in ["--blocksize=1024", "--blocksize=x", "--format=what"] {
        assert!(matches!(request(&[&[value], &words[..]].concat()), Err(CliError::Usage(_))), "{value}");
    }
}

#[test]
fn a_word_after_format_is_not_its_value() {
    let request = request(&["--format", "-a", "a", "-m", "/dev/sda", "/mnt"]).unwrap();
    assert_eq!(request.drives, [drive("a", None, None)]);
}

#[test]
fn an_image_path_need_not_be_utf8() {
    let mut words = arguments(&["-m", "/dev/sda1", "/mnt", "-a"]);
    words.push(OsString::from_vec(b"/caf\xe9.img".to_vec()));
    let Invocation::Mount(request) = parse(words, Config::default()).unwrap() else { panic!() };
    let image = Drive::new(OsStr::from_bytes(b"/caf\xe9.img"), Access::ReadOnly);
    assert_eq!(request.drives, [GivenDrives::Image(image)]);
}

#[test]
fn reading_and_writing_exclude_each_other_in_any_order() {
    let words = |first: &[&'static str]| [first, &["-a", "a", "-m", "/dev/sda", "/mnt"]].concat();
    let text = "--ro and --rw contradict each other; give one of them";
    assert_eq!(message(&words(&["--ro", "--rw"])), text);
    assert_eq!(message(&words(&["-w", "-r"])), text);
    assert_eq!(
        message(&words(&["-w", "-o", "ro"])),
        "-o ro and --rw contradict each other; give one of them"
    );
    assert_eq!(
        message(&words(&["-r", "-o", "rw"])),
        "--ro and -o rw contradict each other; give one of them"
    );
    assert!(
        message(&words(&["-o", "rw"])).starts_with("-o rw: an image is opened for writing only with --rw")
    );
    assert_eq!(request(&words(&["-w", "-o", "rw"])).unwrap().access, Access::ReadWrite);
    assert_eq!(request(&words(&["-o", "ro"])).unwrap().access, Access::ReadOnly);
}

#[test]
fn the_command_line_comes_before_the_configuration() {
    let access = |read_only, words: &[&str]| {
        let words = [words, &["-a", "a", "-m", "/dev/sda", "/mnt"]].concat();
        match parse(arguments(&words), Config { read_only: Some(read_only) }).unwrap() {
            Invocation::Mount(request) => request.access,
            Invocation::Print(text) => panic!("{text}"),
        }
    };
    assert_eq!(access(true, &[]), Access::ReadOnly);
    assert_eq!(access(true, &["--rw"]), Access::ReadWrite);
    assert_eq!(access(false, &[]), Access::ReadWrite);
    assert_eq!(access(false, &["--ro"]), Access::ReadOnly);
}

#[test]
fn flags_may_be_repeated_and_long_options_shortened() {
    let request = request(&["--ro", "--ro", "-v", "-v", "--a", "a", "--moun", "/dev/sda", "/mnt"]).unwrap();
    assert_eq!(request.drives, [drive("a", None, None)]);
    assert!(request.is_verbose);
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    let example = "as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt";
    assert_eq!(
        message(&["-m", "/dev/sda", "/mnt"]),
        format!("no disk image given; add one with -a, {example}")
    );
    assert_eq!(
        message(&["-a", "a", "/mnt"]),
        "no filesystem given; have them found with -i, or name one with -m, as in: guestmount -a disk.qcow2 -i /mnt"
    );
    for (mountpoints, count) in [(&[][..], 0), (&["/a", "/b"][..], 2)] {
        assert_eq!(
            message(&[&["-a", "a", "-m", "/dev/sda"], mountpoints].concat()),
            format!("{count} mountpoints given, exactly one is needed, {example}")
        );
    }
}

#[test]
fn some_filesystem_must_be_the_root() {
    let words = ["-a", "a", "-m", "/dev/sda1:/boot", "/mnt"];
    assert!(message(&words).starts_with("no filesystem for / given"));
    assert_eq!(request(&[&words[..], &["-m", "/dev/sda2"]].concat()).unwrap().mounts.len(), 2);
}

#[test]
fn names_in_any_case_are_for_what_does_not_change() {
    let words = ["-a", "a", "-m", "/dev/sda1", "--ignore-case", "/mnt"];
    assert!(request(&words).unwrap().is_any_case_found);
    assert!(
        message(&[&words[..], &["--rw"]].concat()).starts_with("--ignore-case: only in read-only mounts")
    );
}

#[test]
fn file_systems_are_found_or_named_or_both() {
    let discovery = |words: &[&str]| request(words).unwrap().discovery;
    assert_eq!(discovery(&["-a", "a", "-i", "/mnt"]), Discovery::Inspect { root: None });
    assert_eq!(
        discovery(&["-a", "a", "-i", "-m", "/dev/sdb1:/data", "/mnt"]),
        Discovery::Inspect { root: None }
    );
    let root = Mountable::new(b"/dev/sdb1").unwrap();
    let expected = Discovery::Inspect { root: Some(root) };
    assert_eq!(discovery(&["-a", "a", "--root", "/dev/sdb1", "/mnt"]), expected);
    assert_eq!(discovery(&["-a", "a", "--all", "/mnt"]), Discovery::All);
    assert_eq!(discovery(&["-a", "a", "--drive-letters", "/mnt"]), Discovery::DriveLetters { root: None });
    let root = Some(Mountable::new(b"/dev/sdb1").unwrap());
    let words = ["-a", "a", "-i", "--root", "/dev/sdb1", "--drive-letters", "/mnt"];
    assert_eq!(discovery(&words), Discovery::DriveLetters { root });
    assert!(message(&["-a", "a", "--all", "--drive-letters", "/mnt"]).contains("--drive-letters"));
    assert!(message(&["-a", "a", "--all", "-i", "/mnt"]).contains("--all"));
    assert!(message(&["-a", "a", "--root", "sdb1", "/mnt"]).starts_with("--root \"sdb1\": device name must"));
}

#[test]
fn what_is_not_possible_says_what_to_do_instead() {
    for (words, start, instead) in [
        (
            &["-a", "a", "--key", "secret", "-m", "/dev/sda", "/mnt"][..],
            "--key: it has not the form",
            "ID:key:",
        ),
        (&["-a", "gluster://h/x", "-m", "/dev/sda", "/mnt"], "-a gluster: no such protocol", "nbd"),
        (&["-a", "http://host/", "-m", "/dev/sda", "/mnt"], "-a http://host/: it names no image", "https://"),
        (&["--live", "/mnt"], "--live: a running guest cannot be mounted", "copy"),
    ] {
        let text = message(words);
        assert!(text.starts_with(start) && text.contains(instead), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn keys_reach_the_request() {
    let words =
        ["-a", "a", "--key", "all:file:f", "--keys-from-stdin", "--echo-keys", "-m", "/dev/sda", "/mnt"];
    let keys = request(&words).unwrap().keys;
    assert_eq!(keys.given, [GivenKey::parse("all:file:f".as_ref()).unwrap()]);
    assert_eq!(keys.asking, Asking::StandardInput);
}

#[test]
fn images_and_domains_come_in_the_order_given() {
    let words =
        ["-d", "one", "--format=raw", "-a", "a", "-d", "two", "-c", "test:///x", "-m", "/dev/sda", "/mnt"];
    let request = request(&words).unwrap();
    let domain = |name: &str| GivenDrives::Domain(name.into());
    assert_eq!(request.drives, [domain("one"), drive("a", Some(Format::Raw), None), domain("two")]);
    assert_eq!(request.libvirt, Libvirt { uri: Some("test:///x".into()) });
}

#[test]
fn unknown_options_and_bad_values_are_usage_errors() {
    for words in
        [&["--nonsense"][..], &["-a"], &["--fd=-1"], &["--fd=x"], &["--dir-cache-timeout=x"], &["--pid-file"]]
    {
        assert!(matches!(request(words), Err(CliError::Usage(_))), "{words:?}");
    }
    let text = message(&["--blcksize=512"]);
    assert!(text.contains("--blocksize"), "{text}");
}

#[test]
fn an_unknown_option_is_named_with_the_one_that_may_be_meant() {
    assert_eq!(message(&["--bogus"]), "unexpected argument '--bogus' found; see: guestmount --help");
    let similar = message(&["--no-forks"]);
    assert!(similar.contains("similar argument exists: '--no-fork'"), "{similar}");
}

#[test]
fn a_bad_mount_or_mount_option_is_reported_as_such() {
    assert!(
        message(&["-a", "a", "-m", "sda1", "/mnt"])
            .starts_with("-m \"sda1\": device name must start with /dev/")
    );
    assert!(
        message(&["-a", "a", "-m", "/dev/sda", "-o", "what", "/mnt"])
            .starts_with("-o \"what\": unknown option")
    );
}

#[test]
fn help_and_version_are_printed() {
    assert_eq!(printed(&["--version"]), concat!("guestmount ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(printed(&["-V"]), printed(&["--version"]));
    let help = printed(&["--help"]);
    for option in ["--add", "--mount", "--rw", "--pid-file", "--fuse-help", "read-only unless --rw"] {
        assert!(help.contains(option), "{option}");
    }
    assert!(printed(&["--fuse-help"]).contains("-o allow_other"));
}

#[test]
fn the_lists_for_completion_hold_every_option_of_the_original() {
    let long = printed(&["--long-options"]);
    for option in [
        "add",
        "all",
        "blocksize",
        "connect",
        "dir-cache-timeout",
        "domain",
        "echo-keys",
        "fd",
        "format",
        "fuse-help",
        "help",
        "inspector",
        "key",
        "keys-from-stdin",
        "live",
        "mount",
        "no-fork",
        "no-sync",
        "option",
        "pid-file",
        "ro",
        "root",
        "rw",
        "selinux",
        "trace",
        "verbose",
        "version",
    ] {
        assert!(long.lines().any(|line| line == format!("--{option}")), "{option}");
    }
    let short = printed(&["--short-options"]);
    for option in "acdimnorvVwx".chars() {
        assert!(short.lines().any(|line| line == format!("-{option}")), "{option}");
    }
}
