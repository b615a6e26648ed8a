//! Inspection as tables for people: a line for each operating system, and one for each application.

use guestfs::api::records::{Application2, OperatingSystem};

use super::found::version;
use super::plan::name_of;
use super::{Contents, Found};
use crate::report::printable;

/// What stands above the columns of operating systems.
const SYSTEM_HEADINGS: [&str; 7] = ["IMAGE", "ROOT", "SYSTEM", "ARCH", "HOST", "PACKAGES", "MOUNTS"];

/// What stands above the columns of applications.
const APPLICATION_HEADINGS: [&str; 6] = ["IMAGE", "ROOT", "PACKAGE", "VERSION", "ARCH", "SUMMARY"];

/// The longest name of a system or a host that is shown whole, in characters: those of longer ones are no names.
const NAME_CHARACTERS_MAX: usize = 60;

/// How many mount points of a system are shown.
const MOUNTS_SHOWN_MAX: usize = 20;

/// Writes a table of images and what was found on each.
pub fn table(found: &[(&str, &Found)]) -> String {
    let mut rows = vec![SYSTEM_HEADINGS.map(str::to_owned)];
    for (image, found) in found {
        if found.inspection.systems.is_empty() {
            rows.push([image, "-", "no operating system", "", "", "", ""].map(str::to_owned));
        }
        rows.extend(found.systems().map(|(system, contents)| system_row(image, system, contents)));
    }
    in_columns(&mut rows)
}

/// Writes a table of the applications on all images.
pub fn applications(found: &[(&str, &Found)]) -> String {
    let mut rows = vec![APPLICATION_HEADINGS.map(str::to_owned)];
    for (image, found) in found {
        for (system, contents) in found.systems() {
            let applications = contents.applications.iter().flatten();
            rows.extend(applications.map(|application| application_row(image, system, application)));
        }
    }
    in_columns(&mut rows)
}

/// Writes rows, each column as wide as it has to be.
fn in_columns<const COLUMNS: usize>(rows: &mut [[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in &mut *rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *cell = printable(cell).replace(['\n', '\t'], " ");
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn system_row(image: &str, system: &OperatingSystem, contents: &Contents) -> [String; 7] {
    let text = |text: &Option<guestfs::api::values::ByteString>| {
        text.as_ref().map_or_else(String::new, ToString::to_string)
    };
    let name = match system.medium {
        Some(medium) if medium.is_live => format!("{} (live medium)", name_of(system)),
        Some(_) => format!("{} (installer)", name_of(system)),
        None => name_of(system),
    };
    [
        image.to_owned(),
        system.root.to_string(),
        clipped(&name),
        text(&system.architecture),
        clipped(&text(&system.hostname)),
        contents
            .applications
            .as_ref()
            .map_or_else(|| "-".to_owned(), |applications| applications.len().to_string()),
        mountpoints(system),
    ]
}

/// Cuts off what no name is long enough for.
fn clipped(name: &str) -> String {
    let name = printable(name);
    match name.char_indices().nth(NAME_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name,
    }
}

fn mountpoints(system: &OperatingSystem) -> String {
    let all: Vec<String> =
        system.mounts.iter().filter_map(|mount| Some(mount.mountpoint.as_ref()?.to_string())).collect();
    match all.len().saturating_sub(MOUNTS_SHOWN_MAX) {
        0 => all.join(" "),
        more => format!("{} and {more} more", all[..MOUNTS_SHOWN_MAX].join(" ")),
    }
}

fn application_row(image: &str, system: &OperatingSystem, application: &Application2) -> [String; 6] {
    let name = match application.app2_display_name.as_bytes() {
        [] => &application.app2_name,
        _ => &application.app2_display_name,
    };
    [
        image.to_owned(),
        system.root.to_string(),
        name.to_string(),
        version(application),
        application.app2_arch.to_string(),
        application.app2_summary.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use guestfs::api::records::{GuestMount, Inspection};
    use guestfs::api::values::{ByteString, GuestPath, Mountable, OsType};

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be_and_guests_write_no_commands() {
        let device = Mountable::new(b"/dev/sda1").unwrap();
        let mut system = OperatingSystem::new(device.clone(), OsType::Linux);
        system.product_name = Some(ByteString::try_from("Debian \x1b[2J").unwrap());
        let mount = |path| GuestMount {
            mountable: device.clone(),
            mountpoint: Some(GuestPath::try_from(path).unwrap()),
        };
        system.mounts = vec![mount("/"), mount("/boot")];
        let found = Found::from(Inspection { systems: vec![system], filesystems: Vec::new() });
        let expected = "\
            IMAGE      ROOT       SYSTEM               ARCH  HOST  PACKAGES  MOUNTS\n\
            disk.img   /dev/sda1  Debian \\u{1b}[2J                 -         / /boot\n\
            empty.img  -          no operating system\n";
        assert_eq!(table(&[("disk.img", &found), ("empty.img", &Found::default())]), expected);
        let bytes = |text: &str| ByteString::try_from(text).unwrap();
        let bash = Application2 {
            app2_name: bytes("bash"),
            app2_epoch: 1,
            app2_version: bytes("5.2"),
            app2_release: bytes("3"),
            app2_summary: bytes("\u{7}a shell"),
            ..Application2::default()
        };
        let contents = Contents { applications: Some(vec![bash]), icon: None };
        let found = Found { contents: vec![contents], ..found };
        assert!(table(&[("disk.img", &found)]).contains(" 1         / /boot\n"));
        let expected = "\
            IMAGE     ROOT       PACKAGE  VERSION  ARCH  SUMMARY\n\
            disk.img  /dev/sda1  bash     1:5.2-3        \\u{7}a shell\n";
        assert_eq!(applications(&[("disk.img", &found)]), expected);
    }

    #[test]
    fn what_a_guest_tells_without_end_is_cut_off() {
        let device = Mountable::new(b"/dev/sda1").unwrap();
        let mut system = OperatingSystem::new(device.clone(), OsType::Linux);
        system.product_name = ByteString::try_from("\u{e4}".repeat(500).as_str()).ok();
        let mounts = (0..300).map(|number| GuestMount {
            mountable: device.clone(),
            mountpoint: GuestPath::try_from(format!("/{number}").as_str()).ok(),
        });
        system.mounts = mounts.collect();
        let table = table(&[("i", &Inspection { systems: vec![system], filesystems: Vec::new() }.into())]);
        assert!(table.contains(&format!(" {}... ", "\u{e4}".repeat(NAME_CHARACTERS_MAX))), "{table}");
        assert!(table.ends_with(" /18 /19 and 280 more\n"), "{table}");
    }
}
