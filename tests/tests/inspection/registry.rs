//! Reading registry hives: whole ones, cut ones and damaged ones.

use std::io::Write;

use guestfs_api::records::{Application2, WindowsParts};
use guestfs_api::values::GuestPath;
use guestfs_tests::hive::NewKey;
use guestfsd::inspect::applications;
use guestfsd::inspect::guest::Guest;
use guestfsd::inspect::registry::{Hive, HiveError};
use guestfsd::sysroot::Sysroot;

fn opened(bytes: &[u8]) -> Result<Hive, HiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Hive::open(file)
}

fn software() -> NewKey {
    let mut root = NewKey::new("ROOT");
    root.add(&["Microsoft", "Windows NT", "CurrentVersion"], |key| {
        key.text("ProductName", "Windows 10 Pro").number("Major", 10)
    });
    root.add(&["Microsoft", "Other"], |key| key.binary("Data", &[1; 30]));
    root
}

#[test]
fn keys_and_values_are_found_in_any_case() {
    let hive = opened(&software().to_hive()).unwrap();
    let key = hive.key(&["microsoft", "WINDOWS NT", "currentversion"]).unwrap().unwrap();
    assert_eq!(hive.value(key, "productname").unwrap().unwrap().text().as_deref(), Some("Windows 10 Pro"));
    assert_eq!(hive.value(key, "Major").unwrap().unwrap().number(), Some(10));
    assert_eq!(hive.value(key, "Minor").unwrap(), None);
    assert_eq!(hive.key(&["Microsoft", "Windows"]).unwrap(), None);
    let microsoft = hive.key(&["Microsoft"]).unwrap().unwrap();
    let names: Vec<String> = hive.subkeys(microsoft).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Windows NT", "Other"]);
    let other = hive.subkey(microsoft, "Other").unwrap().unwrap();
    let values = hive.values(other).unwrap();
    assert_eq!((values[0].0.as_str(), values[0].1.binary()), ("Data", Some(&[1; 30][..])));
    assert_eq!((values[0].1.text(), values[0].1.number()), (None, None));
}

#[test]
fn what_is_no_hive_or_cut_off_gives_an_error() {
    assert!(matches!(opened(b""), Err(HiveError::NoHive)));
    assert!(matches!(opened(b"MZ"), Err(HiveError::NoHive)));
    let whole = software().to_hive();
    for end in (4..whole.len()).step_by(16) {
        let hive = opened(&whole[..end]).unwrap();
        let found = hive.key(&["Microsoft", "Windows NT", "CurrentVersion"]);
        let value = found.and_then(|key| match key {
            Some(key) => hive.value(key, "ProductName"),
            None => Ok(None),
        });
        // The cells of the versions' key are written first.
        assert!(value.is_err(), "{end} of {} bytes are enough", whole.len());
    }
}

/// A tree with a hive SOFTWARE, and what a guest with it tells of applications.
fn applications(hive: &[u8]) -> (Vec<Application2>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("software"), hive).unwrap();
    let guest = Guest::new(
        Sysroot::new(folder.path(), true).unwrap(),
        std::time::Instant::now() + std::time::Duration::from_secs(60),
    );
    let parts = WindowsParts {
        systemroot: GuestPath::try_from("/windows").unwrap(),
        software_hive: GuestPath::try_from("/software").ok(),
        system_hive: None,
        current_control_set: None,
        has_group_policy: None,
    };
    (applications::windows::installed(&guest, &parts), guest.take_notes())
}

fn with_applications() -> NewKey {
    const UNINSTALL: [&str; 4] = ["Microsoft", "Windows", "CurrentVersion", "Uninstall"];
    let mut root = software();
    root.add(&[&UNINSTALL[..], &["7-Zip"]].concat(), |key| {
        key.text("DisplayName", "7-Zip 23.01 (x64)")
            .text("DisplayVersion", "23.01")
            .text("Publisher", "Igor Pavlov")
            .text("InstallLocation", "C:\\Program Files\\7-Zip\\")
            .text("URLInfoAbout", "https://www.7-zip.org/")
            .text("Comments", "Packs and unpacks")
            .number("EstimatedSize", 5600)
    });
    root.add(&[&UNINSTALL[..], &["KB5000802"]].concat(), |key| key.text("ParentKeyName", "OperatingSystem"));
    root.add(&[&["WOW6432Node"], &UNINSTALL[..], &["{0000-1}"]].concat(), |key| {
        key.text("DisplayName", "Norton 360").text("DisplayVersion", "22.1")
    });
    root.add(&["Microsoft", "Windows Defender"], |key| key.number("DisableAntiVirus", 0));
    root
}

#[test]
fn applications_are_those_with_a_name_for_people() {
    let (found, notes) = applications(&with_applications().to_hive());
    let names: Vec<String> = found.iter().map(|one| one.app2_name.to_string()).collect();
    assert_eq!(names, ["7-Zip", "WinDefend", "{0000-1}"]);
    let zip = &found[0];
    let texts = [
        &zip.app2_display_name,
        &zip.app2_version,
        &zip.app2_publisher,
        &zip.app2_install_path,
        &zip.app2_url,
        &zip.app2_description,
        &zip.app2_class,
    ];
    let expected = [
        "7-Zip 23.01 (x64)",
        "23.01",
        "Igor Pavlov",
        "C:\\Program Files\\7-Zip\\",
        "https://www.7-zip.org/",
        "Packs and unpacks",
        "",
    ];
    assert_eq!(texts.map(ToString::to_string), expected);
    assert_eq!([&found[1], &found[2]].map(|one| one.app2_class.to_string()), ["antivirus", "antivirus"]);
    assert_eq!(notes, [""; 0]);
    let mut disabled = with_applications();
    disabled.add(&["Microsoft", "Windows Defender"], |key| {
        NewKey { values: Vec::new(), ..key }.number("DisableAntiVirus", 1)
    });
    assert_eq!(applications(&disabled.to_hive()).0.len(), 2);
}

#[test]
fn of_a_hive_that_is_cut_off_anywhere_the_rest_is_noted() {
    let whole = with_applications().to_hive();
    assert_eq!(
        applications(b"").1,
        ["the registry's hive SOFTWARE: it does not begin as a registry hive does"]
    );
    for tenth in 1..10 {
        let (found, notes) = applications(&whole[..whole.len() * tenth / 10]);
        assert!(found.len() < 3 && !notes.is_empty(), "{tenth} tenths: {found:?} {notes:?}");
    }
}

#[test]
fn keys_that_contain_themselves_end() {
    let mut hive = with_applications().to_hive();
    // Every list of keys leads to the root, which is the last cell but its own list.
    let root: [u8; 4] = hive[0x24..0x28].try_into().unwrap();
    let lists: Vec<usize> = (0x1000..hive.len() - 2).filter(|at| &hive[*at..at + 2] == b"lh").collect();
    for list in lists {
        let count = usize::from(u16::from_le_bytes([hive[list + 2], hive[list + 3]]));
        (0..count).for_each(|number| hive[list + 4 + number * 8..][..4].copy_from_slice(&root));
    }
    let (found, _) = applications(&hive);
    assert_eq!(found, []);
    let opened = opened(&hive).unwrap();
    assert_eq!(opened.key(&["Microsoft", "Windows NT", "CurrentVersion"]).unwrap(), None);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(300))]

    #[test]
    fn no_damage_makes_the_reader_panic(
        places in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 1..12)
    ) {
        let mut bytes = software().to_hive();
        for (place, byte) in places {
            let at = place.index(bytes.len() - 0x1000) + 0x1000;
            bytes[at] = byte;
        }
        let hive = opened(&bytes).unwrap();
        if let Ok(Some(key)) = hive.key(&["Microsoft", "Windows NT", "CurrentVersion"]) {
            let _ = hive.values(key);
        }
        if let Ok(Some(key)) = hive.key(&["Microsoft"]) {
            let _ = hive.subkeys(key);
        }
    }
}
