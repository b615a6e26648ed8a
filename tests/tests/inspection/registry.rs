//! Reading registry hives: whole ones, cut ones and damaged ones.

use std::io::Write;

use guestfs_tests::hive::NewKey;
use guestfsd::inspect::registry::{Hive, HiveError};

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
