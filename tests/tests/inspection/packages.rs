//! What package managers with plain files have installed, in small trees; what damage does to their files.

use std::path::Path;
use std::time::{Duration, Instant};

use guestfs_api::values::PackageFormat;
use guestfs_tests::guest_tree;
use guestfsd::inspect::applications;
use guestfsd::inspect::guest::Guest;
use guestfsd::sysroot::Sysroot;

/// Lists the applications in a tree, `NAME VERSION RELEASE ARCH SUMMARY` each; gives the notes, too.
fn listed(tree: &str, format: PackageFormat) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    guest_tree::write(tree, folder.path());
    listed_in(folder.path(), format)
}

fn listed_in(folder: &Path, format: PackageFormat) -> (Vec<String>, Vec<String>) {
    let sysroot = Sysroot::new(folder, true).unwrap();
    let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
    let found = applications::list(&guest, format);
    let line = |one: &guestfs_api::records::Application2| {
        let fields =
            [&one.app2_name, &one.app2_version, &one.app2_release, &one.app2_arch, &one.app2_summary];
        fields.map(ToString::to_string).join(" ").trim_end().to_owned()
    };
    (found.iter().map(line).collect(), guest.take_notes())
}

#[test]
fn gentoos_packages_are_directories() {
    let tree = "\n--- /var/db/pkg/app-shells/bash-5.2_p21-r2/DESCRIPTION\nThe standard shell\n\
        --- /var/db/pkg/app-shells/bash-5.2_p21-r2/CHOST\nx86_64-pc-linux-gnu\n\
        --- /var/db/pkg/app-shells/-MERGING-dash-0.5/DESCRIPTION\nHalf\n\
        --- /var/db/pkg/virtual/libc-1/SLOT\n0\n--- /var/db/pkg/virtual/empty-1/\n--- /var/db/pkg/world\nno folder\n";
    let (found, notes) = listed(tree, PackageFormat::Ebuild);
    assert_eq!(found, ["app-shells/bash 5.2_p21 2 x86_64 The standard shell", "virtual/libc 1"]);
    assert_eq!(notes, [""; 0]);
}

#[test]
fn voids_packages_are_in_a_property_list() {
    let package = |name: &str, state: &str| {
        format!(
            "<key>{name}</key><dict><key>pkgver</key><string>{name}-1.2_3</string><key>state</key>\
             <string>{state}</string><key>short_desc</key><string>It is {name}</string></dict>"
        )
    };
    let list = format!(
        "<plist><dict>{}{}</dict></plist>",
        package("runit-void", "installed"),
        package("b", "unpacked")
    );
    let path = "\n--- /var/db/xbps/pkgdb-0.38.plist\n";
    let (found, notes) = listed(&format!("{path}{list}\n"), PackageFormat::Xbps);
    assert_eq!((found, notes), (vec!["runit-void 1.2 3  It is runit-void".to_owned()], vec![]));
    let (found, notes) = listed(&format!("{path}{}\n", &list[..list.len() / 2]), PackageFormat::Xbps);
    assert_eq!((found.len(), notes.len()), (0, 1), "{notes:?}");
    assert!(notes[0].starts_with("/var/db/xbps/pkgdb-0.38.plist: "), "{notes:?}");
}

#[test]
fn flatpaks_and_snaps_are_listed_beside_packages() {
    let tree = "\n--- /lib/apk/db/installed\nP:musl\nV:1.2.4-r2\nA:x86_64\nT:the libc\n\
        --- /var/lib/flatpak/app/org.example.App/current -> x86_64/stable\n\
        --- /var/lib/flatpak/app/org.example.App/x86_64/stable/active -> 0123\n\
        --- /var/lib/flatpak/app/org.example.App/x86_64/stable/0123/metadata\n[Application]\nname=org.example.App\n\
        --- /var/lib/flatpak/app/org.example.App/x86_64/stable/0123/files/share/metainfo/org.example.App.metainfo.xml\n\
        <component><name>App</name><summary>An app</summary><releases><release version=\"2.1\"/></releases></component>\n\
        --- /var/lib/flatpak/app/org.example.Gone/x86_64/stable/active -> 4567\n\
        --- /var/lib/flatpak/runtime/org.example.Platform/x86_64/23.08/active -> 89ab\n\
        --- /var/lib/flatpak/runtime/org.example.Platform/x86_64/23.08/89ab/metadata\n[Runtime]\n\
        --- /var/lib/snapd/state.json\n{\"data\":{\"snaps\":{\"core22\":{\"current\":\"1122\"}}}}\n";
    let (found, notes) = listed(tree, PackageFormat::Apk);
    let expected = [
        "core22 1122",
        "musl 1.2.4 2 x86_64 the libc",
        "org.example.App 2.1  x86_64 An app",
        "org.example.Platform 23.08  x86_64",
    ];
    assert_eq!(found, expected);
    assert_eq!(notes, [""; 0]);
    let (found, notes) =
        listed("\n--- /var/lib/snapd/state.json\n{\"data\":{\"snaps\":{\"co\n", PackageFormat::Unknown);
    assert_eq!((found.len(), notes.len()), (0, 1), "{notes:?}");
}

#[test]
fn files_that_are_cut_off_give_what_is_whole_and_a_note() {
    for (path, format, database) in [
        (
            "var/lib/dpkg/status",
            PackageFormat::Deb,
            "Package: a\nStatus: install ok installed\nVersion: 1-2\n\n",
        ),
        ("lib/apk/db/installed", PackageFormat::Apk, "P:a\nV:1-r2\n\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let database = [database, &database.replace("a\n", "b\n")].concat();
        for end in 1..database.len() {
            std::fs::write(&path, &database[..end]).unwrap();
            let (found, notes) = listed_in(folder.path(), format);
            let whole = database[..end].matches("2\n").count();
            assert_eq!(found, &["a 1 2", "b 1 2"][..whole], "{end}");
            assert_eq!(notes.len(), usize::from(!database[..end].ends_with('\n')), "{end}: {notes:?}");
        }
        std::fs::write(&path, [0xff; 3000]).unwrap();
        assert_eq!(listed_in(folder.path(), format).0, [""; 0]);
    }
}
