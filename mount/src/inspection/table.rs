//! Inspection as a table for people: a line for each operating system.

use guestfs::api::records::{Inspection, OperatingSystem};

use super::plan::name_of;
use crate::report::printable;

/// What stands above the columns.
const HEADINGS: [&str; 6] = ["IMAGE", "ROOT", "SYSTEM", "ARCH", "HOST", "MOUNTS"];

/// Writes a table of images and what was found on each.
pub fn table<'a>(found: impl IntoIterator<Item = (&'a str, &'a Inspection)>) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for (image, inspection) in found {
        if inspection.systems.is_empty() {
            rows.push([image, "-", "no operating system", "", "", ""].map(str::to_owned));
        }
        rows.extend(inspection.systems.iter().map(|system| row(image, system)));
    }
    let mut widths = [0; HEADINGS.len()];
    for row in &mut rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *cell = printable(cell).replace(['\n', '\t'], " ");
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(image: &str, system: &OperatingSystem) -> [String; 6] {
    let text = |text: &Option<guestfs::api::values::ByteString>| {
        text.as_ref().map_or_else(String::new, ToString::to_string)
    };
    let mounts = system.mounts.iter().filter_map(|mount| mount.mountpoint.as_ref());
    let name = match system.medium {
        Some(medium) if medium.is_live => format!("{} (live medium)", name_of(system)),
        Some(_) => format!("{} (installer)", name_of(system)),
        None => name_of(system),
    };
    [
        image.to_owned(),
        system.root.to_string(),
        name,
        text(&system.architecture),
        text(&system.hostname),
        mounts.map(ToString::to_string).collect::<Vec<_>>().join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use guestfs::api::records::GuestMount;
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
        let found = Inspection { systems: vec![system], filesystems: Vec::new() };
        let expected = "\
            IMAGE      ROOT       SYSTEM               ARCH  HOST  MOUNTS\n\
            disk.img   /dev/sda1  Debian \\u{1b}[2J                 / /boot\n\
            empty.img  -          no operating system\n";
        let table = table([("disk.img", &found), ("empty.img", &Inspection::default())]);
        assert_eq!(table, expected);
    }
}
