//! Guests with a database of packages each, by the numbers that the target `packages` knows forms and files by.

use super::Seed;
use crate::fuzz::packages::FILES;
use crate::rpm::ndb;

const RPM: u8 = 0;

pub fn all() -> Vec<Seed> {
    let seed = |name: &str, format: u8, files: &[(&str, &[u8])]| {
        let file = |(end, content): &(&str, &[u8])| {
            let number = FILES.iter().position(|path| path.ends_with(end)).expect("the target has this file");
            let number = u8::try_from(number).expect("they are few");
            let length = u16::try_from(content.len()).expect("a seed is small").to_be_bytes();
            [&[number][..], &length, content].concat()
        };
        Seed::new("packages", name, [format].into_iter().chain(files.iter().flat_map(file)).collect())
    };
    vec![
        seed("rpm-sqlite", RPM, &[("rpmdb.sqlite", &sqlite()), ("-wal", &log())]),
        seed("rpm-ndb", RPM, &[("Packages.db", &ndb(&[(1, header()), (2, header())]))]),
        seed("rpm-berkeley", RPM, &[("rpm/Packages", &berkeley())]),
        seed(
            "deb",
            1,
            &[("status", b"Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n y\n")],
        ),
        seed("apk", 2, &[("installed", b"P:musl\nV:1.2-r3\nA:x86_64\n\n")]),
        seed("pacman", 3, &[("desc", b"%NAME%\na\n\n%VERSION%\n1:2-3\n")]),
        seed("portage", 4, &[("DESCRIPTION", b"A package\n")]),
        seed(
            "xbps",
            5,
            &[(
                "plist",
                b"<!DOCTYPE plist><plist><dict><key>a</key><dict><key>pkgver</key><string>a-1_2</string>\
              <key>state</key><string>installed</string></dict></dict></plist>",
            )],
        ),
        seed("snap", 6, &[("state.json", br#"{"data":{"snaps":{"a":{"current":"1"},"b":{"current":2}}}}"#)]),
        seed(
            "flatpak",
            6,
            &[
                ("metadata", b""),
                (
                    "metainfo.xml",
                    b"<component><name>A</name><releases><release version='1'/></releases></component>",
                ),
            ],
        ),
    ]
}

/// A header with a name, a version, a number and a text in languages.
fn header() -> Vec<u8> {
    let tags: [(u32, u32, &[u8]); 4] = [
        (1000, 6, b"name\0"),
        (1001, 6, b"1.0\0"),
        (1003, 4, &[0, 0, 0, 7]),
        (1004, 9, b"A text\0Ein Text\0"),
    ];
    let data = tags.map(|(_, _, value)| value).concat();
    let mut offset = 0;
    let mut index = Vec::new();
    for (tag, kind, value) in tags {
        index.extend([tag, kind, offset, 1].map(u32::to_be_bytes).concat());
        offset += count(value.len());
    }
    [&count(tags.len()).to_be_bytes()[..], &count(data.len()).to_be_bytes(), &index, &data].concat()
}

/// An SQLite file in pages of 512 bytes: the tables, a row of packages, and what of it does not fit its page.
fn sqlite() -> Vec<u8> {
    let mut file = vec![0; 3 * 512];
    let mut put = |place: usize, bytes: &[u8]| file[place..place + bytes.len()].copy_from_slice(bytes);
    put(0, b"SQLite format 3\0\x02\x00\x01\x01\x00\x40\x20\x20");
    put(28, &3_u32.to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    let tables = b"\x06\x17\x1d\x1d\x01\x0dtablePackagesPackages\x02";
    let cell = [&[u8::try_from(tables.len()).expect("it is short"), 1][..], tables].concat();
    // Both pages are leaves with one cell, which lies at their end.
    put(100, b"\x0d\x00\x00\x00\x01\x01\x00\x00\x01\x00");
    put(256, &cell);
    // A row of 604 bytes: its columns' types and a header of 600, of which 96 bytes in all lie here.
    let mut row = b"\x04\x00\x89\x3c".to_vec();
    row.extend(header());
    row.resize(604, 0);
    put(512, b"\x0d\x00\x00\x00\x01\x01\x00\x00\x01\x00");
    put(512 + 256, b"\x84\x5c\x01");
    put(512 + 259, &row[..96]);
    put(512 + 355, &3_u32.to_be_bytes());
    put(1024 + 4, &row[96..]);
    file
}

/// The log of that file, which begins as one does and has no page.
fn log() -> Vec<u8> {
    [0x377f_0683_u32, 3_007_000, 512, 0, 1, 2, 0, 0].map(u32::to_be_bytes).concat()
}

/// A hash table of Berkeley DB in pages of 512 bytes: one bucket with a short value, and one on a page of its own.
fn berkeley() -> Vec<u8> {
    let mut file = vec![0; 3 * 512];
    let mut put = |place: usize, bytes: &[u8]| file[place..place + bytes.len()].copy_from_slice(bytes);
    let number = u32::to_le_bytes;
    put(12, &number(0x0006_1561));
    put(20, &number(512));
    put(25, &[8]);
    put(32, &number(2));
    put(96, &number(1));
    let header = header();
    // The page of the bucket: keys and values by turns, from its end on.
    put(512 + 25, &[13]);
    let here = [&[1][..], &header].concat();
    let away = [&[3, 0, 0, 0][..], &number(2), &number(count(header.len()))].concat();
    let items: [&[u8]; 4] = [&[1, 1, 0, 0, 0], &here, &[1, 2, 0, 0, 0], &away];
    let mut end = 512;
    for (index, item) in items.into_iter().enumerate() {
        end -= item.len();
        put(512 + 26 + 2 * index, &u16::try_from(end).expect("it is on the page").to_le_bytes());
        put(512 + end, item);
    }
    put(512 + 20, &[4, 0]);
    // The page of the other value.
    put(1024 + 22, &u16::try_from(header.len()).expect("it is short").to_le_bytes());
    put(1024 + 25, &[7]);
    put(1024 + 26, &header);
    file
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("it is small")
}
