//! Inspection as JSON: what a guest does not tell is left out. Bytes that are not UTF-8 become U+FFFD.

use guestfs::api::records::{Application2, FoundFilesystem, OperatingSystem};
use guestfs::api::values::ByteString;
use serde_json::{Map, Value, json};

use super::Found;

/// Writes everything that was found on one set of disks.
pub fn found(found: &Found) -> Value {
    let systems = found.systems().map(|(system, contents)| {
        let mut object = operating_system(system);
        if let Some(applications) = &contents.applications {
            object["applications"] = applications.iter().map(application).collect();
        }
        if let Some(icon) = contents.icon_text() {
            object["icon"] = json!(icon);
        }
        object
    });
    json!({
        "operating_systems": systems.collect::<Vec<_>>(),
        "filesystems": found.inspection.filesystems.iter().map(filesystem).collect::<Vec<_>>(),
    })
}

/// Writes one operating system.
pub fn operating_system(system: &OperatingSystem) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    let word = |is_known: bool, word: &str| is_known.then(|| json!(word));
    put("root", Some(json!(system.root.to_string())));
    put("type", word(system.kind.is_known(), system.kind.word()));
    put("distro", word(system.distro.is_known(), system.distro.word()));
    put("major_version", system.version.map(|version| json!(version.major)));
    put("minor_version", system.version.map(|version| json!(version.minor)));
    put("product_name", text(&system.product_name));
    put("product_variant", text(&system.product_variant));
    put("build_id", text(&system.build_id));
    put("arch", text(&system.architecture));
    put("hostname", text(&system.hostname));
    put("package_format", word(system.package_format.is_known(), system.package_format.word()));
    put("package_management", word(system.package_management.is_known(), system.package_management.word()));
    put("osinfo", text(&system.osinfo));
    let mounts = system.mounts.iter().map(|mount| match &mount.mountpoint {
        Some(mountpoint) => {
            json!({ "device": mount.mountable.to_string(), "mountpoint": mountpoint.to_string() })
        }
        None => json!({ "device": mount.mountable.to_string() }),
    });
    put("mounts", Some(mounts.collect()));
    let drives = system
        .drives
        .iter()
        .map(|drive| json!({ "letter": drive.letter.to_string(), "device": drive.device.to_string() }));
    put("drives", (!system.drives.is_empty()).then(|| drives.collect()));
    put("windows", system.windows.as_ref().map(windows));
    put(
        "medium",
        system.medium.map(|medium| {
            json!({ "live": medium.is_live, "netinst": medium.is_netinst, "multipart": medium.is_multipart })
        }),
    );
    let notes = system.notes.iter().map(|note| json!(note.to_string()));
    put("notes", (!system.notes.is_empty()).then(|| notes.collect()));
    Value::Object(object)
}

fn windows(parts: &guestfs::api::records::WindowsParts) -> Value {
    let mut object = Map::new();
    object.insert("systemroot".to_owned(), json!(parts.systemroot.to_string()));
    for (name, value) in [
        ("software_hive", parts.software_hive.as_ref().map(ToString::to_string)),
        ("system_hive", parts.system_hive.as_ref().map(ToString::to_string)),
        ("current_control_set", parts.current_control_set.as_ref().map(ToString::to_string)),
    ] {
        if let Some(value) = value {
            object.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(has_group_policy) = parts.has_group_policy {
        object.insert("group_policy".to_owned(), json!(has_group_policy));
    }
    Value::Object(object)
}

/// Writes one application.
fn application(application: &Application2) -> Value {
    let texts = [
        ("name", &application.app2_name),
        ("display_name", &application.app2_display_name),
        ("version", &application.app2_version),
        ("release", &application.app2_release),
        ("arch", &application.app2_arch),
        ("install_path", &application.app2_install_path),
        ("publisher", &application.app2_publisher),
        ("url", &application.app2_url),
        ("source_package", &application.app2_source_package),
        ("summary", &application.app2_summary),
        ("description", &application.app2_description),
        ("class", &application.app2_class),
    ];
    let texts = texts.into_iter().filter(|(_, text)| !text.as_bytes().is_empty());
    let epoch = (application.app2_epoch != 0).then(|| ("epoch".to_owned(), json!(application.app2_epoch)));
    Value::Object(texts.map(|(name, text)| (name.to_owned(), json!(text.to_string()))).chain(epoch).collect())
}

/// Writes one file system.
fn filesystem(filesystem: &FoundFilesystem) -> Value {
    let mut object = Map::new();
    object.insert("device".to_owned(), json!(filesystem.mountable.to_string()));
    object.insert("type".to_owned(), json!(filesystem.kind.to_string()));
    for (name, value) in [("label", &filesystem.label), ("uuid", &filesystem.uuid)] {
        if !value.as_bytes().is_empty() {
            object.insert(name.to_owned(), json!(value.to_string()));
        }
    }
    object.insert("role".to_owned(), json!(filesystem.role.word()));
    if let Some(problem) = &filesystem.problem {
        object.insert("problem".to_owned(), json!(problem.to_string()));
    }
    Value::Object(object)
}

fn text(text: &Option<ByteString>) -> Option<Value> {
    text.as_ref().map(|text| json!(text.to_string()))
}
