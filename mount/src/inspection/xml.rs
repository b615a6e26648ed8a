//! Inspection as XML, in the elements of virt-inspector, so that what reads its output reads this.

use std::fmt::{self, Display, Write};

use guestfs::api::records::{Application2, FoundFilesystem, Inspection, OperatingSystem, Version};
use guestfs::api::values::{ByteString, Mountable};

use super::Found;

/// Writes the document of the operating systems on several sets of disks.
pub fn document<'a>(found: impl IntoIterator<Item = &'a Found>) -> String {
    let mut writer = Writer { text: "<?xml version=\"1.0\"?>\n".to_owned(), depth: 0 };
    writer.inside("operatingsystems", &[], |writer| {
        for found in found {
            for (system, contents) in found.systems() {
                writer.inside("operatingsystem", &[], |writer| {
                    operating_system(writer, system, &found.inspection);
                    if let Some(applications) = &contents.applications {
                        let each = |writer: &mut Writer| {
                            applications.iter().for_each(|one| application(writer, one))
                        };
                        writer.inside("applications", &[], each);
                    }
                    writer.if_known("icon", contents.icon_text());
                });
            }
        }
    });
    writer.text
}

fn operating_system(writer: &mut Writer, system: &OperatingSystem, inspection: &Inspection) {
    let known = |is_known: bool, word: &str| is_known.then(|| word.to_owned());
    writer.leaf("root", &[], &system.root);
    writer.if_known("name", known(system.kind.is_known(), system.kind.word()));
    writer.if_known("arch", text(&system.architecture));
    writer.if_known("distro", known(system.distro.is_known(), system.distro.word()));
    writer.if_known("product_name", text(&system.product_name));
    writer.if_known("product_variant", text(&system.product_variant));
    // These two are always there in virt-inspector's schema, which has no place for a build.
    let Version { major, minor } = system.version.unwrap_or(Version { major: 0, minor: 0 });
    writer.leaf("major_version", &[], &major);
    writer.leaf("minor_version", &[], &minor);
    if let Some(windows) = &system.windows {
        writer.leaf("windows_systemroot", &[], &windows.systemroot);
        writer.if_known("windows_current_control_set", text(&windows.current_control_set));
    }
    writer.if_known("package_format", known(system.package_format.is_known(), system.package_format.word()));
    let management = system.package_management;
    writer.if_known("package_management", known(management.is_known(), management.word()));
    writer.if_known("hostname", text(&system.hostname));
    writer.if_known("osinfo", text(&system.osinfo));
    writer.inside("mountpoints", &[], |writer| {
        for mount in &system.mounts {
            if let Some(mountpoint) = &mount.mountpoint {
                writer.leaf("mountpoint", &[("dev", &mount.mountable)], mountpoint);
            }
        }
    });
    writer.inside("filesystems", &[], |writer| {
        for (number, mount) in system.mounts.iter().enumerate() {
            // One that is mounted twice is the same file system.
            if system.mounts[..number].iter().all(|other| other.mountable != mount.mountable) {
                filesystem(writer, &mount.mountable, inspection);
            }
        }
    });
    if !system.drives.is_empty() {
        writer.inside("drive_mappings", &[], |writer| {
            for drive in &system.drives {
                writer.leaf("drive_mapping", &[("name", &drive.letter)], &drive.device);
            }
        });
    }
}

fn filesystem(writer: &mut Writer, mountable: &Mountable, inspection: &Inspection) {
    let found = inspection.filesystems.iter().find(|found| found.mountable == *mountable);
    writer.inside("filesystem", &[("dev", mountable)], |writer| {
        if let Some(FoundFilesystem { kind, label, uuid, .. }) = found {
            for (name, value) in [("type", kind), ("label", label), ("uuid", uuid)] {
                writer.if_known(name, Some(value.to_string()).filter(|value| !value.is_empty()));
            }
        }
    });
}

/// Writes an application's elements in the order of virt-inspector's schema, which knows no class.
fn application(writer: &mut Writer, application: &Application2) {
    let known = |text: &ByteString| Some(text.to_string()).filter(|text| !text.is_empty());
    let epoch = (application.app2_epoch != 0).then(|| application.app2_epoch.to_string());
    writer.inside("application", &[], |writer| {
        writer.leaf("name", &[], &application.app2_name);
        for (name, text) in [
            ("display_name", known(&application.app2_display_name)),
            ("epoch", epoch),
            ("version", known(&application.app2_version)),
            ("release", known(&application.app2_release)),
            ("arch", known(&application.app2_arch)),
            ("install_path", known(&application.app2_install_path)),
            ("publisher", known(&application.app2_publisher)),
            ("url", known(&application.app2_url)),
            ("source_package", known(&application.app2_source_package)),
            ("summary", known(&application.app2_summary)),
            ("description", known(&application.app2_description)),
        ] {
            writer.if_known(name, text);
        }
    });
}

fn text(text: &Option<ByteString>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

/// Writes elements, each on a line of its own.
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    /// Writes an element with others in it.
    fn inside(&mut self, name: &str, attributes: &[(&str, &dyn Display)], content: impl FnOnce(&mut Writer)) {
        self.line(format_args!("<{name}{}>", Attributes(attributes)));
        self.depth += 1;
        content(self);
        self.depth -= 1;
        self.line(format_args!("</{name}>"));
    }

    /// Writes an element with a text in it.
    fn leaf(&mut self, name: &str, attributes: &[(&str, &dyn Display)], content: &dyn Display) {
        self.line(format_args!("<{name}{}>{}</{name}>", Attributes(attributes), Escaped(content)));
    }

    fn if_known(&mut self, name: &str, content: Option<String>) {
        if let Some(content) = content {
            self.leaf(name, &[], &content);
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        let indent = "  ".repeat(self.depth);
        writeln!(self.text, "{indent}{line}").expect("a string takes everything");
    }
}

struct Attributes<'a>(&'a [(&'a str, &'a dyn Display)]);

impl Display for Attributes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(out, " {name}=\"{}\"", Escaped(*value)))
    }
}

/// A text as XML has it. Characters that XML does not allow in any form become U+FFFD.
struct Escaped<'a>(&'a dyn Display);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '&' => out.write_str("&amp;")?,
                '"' => out.write_str("&quot;")?,
                '\t' | '\n' | '\r' => write!(out, "&#{};", u32::from(character))?,
                '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.write_str("\u{fffd}")?,
                _ => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use guestfs::api::records::GuestMount;
    use guestfs::api::values::{Distro, FilesystemRole, GuestPath, OsType};

    use super::*;
    use crate::inspection::Contents;

    #[test]
    fn the_elements_are_those_of_virt_inspector() {
        let device = Mountable::new(b"/dev/sda1").unwrap();
        let bytes = |text: &str| ByteString::try_from(text).unwrap();
        let mut system = OperatingSystem::new(device.clone(), OsType::Linux);
        system.distro = Distro::Debian;
        system.version = Some(Version { major: 12, minor: 5 });
        system.product_name = Some(bytes("<Debian> & \u{1b}[31m"));
        let mounted =
            |path| GuestMount { mountable: device.clone(), mountpoint: GuestPath::try_from(path).ok() };
        system.mounts = vec![mounted("/"), mounted("/srv")];
        let filesystem = FoundFilesystem {
            mountable: device,
            kind: bytes("ext4"),
            label: bytes(""),
            uuid: bytes("1-2"),
            role: FilesystemRole::Root,
            problem: None,
        };
        let application = Application2 {
            app2_name: bytes("a&b"),
            app2_epoch: 2,
            app2_version: bytes("1.0"),
            app2_description: bytes("two\nlines"),
            ..Application2::default()
        };
        let found = Found {
            inspection: Inspection { systems: vec![system], filesystems: vec![filesystem] },
            contents: vec![Contents {
                applications: Some(vec![application]),
                icon: Some(b"\x89PNG\r\n".to_vec()),
            }],
        };
        let expected = "<?xml version=\"1.0\"?>\n<operatingsystems>\n  <operatingsystem>\n    <root>/dev/sda1</root>\n    \
            <name>linux</name>\n    <distro>debian</distro>\n    \
            <product_name>&lt;Debian&gt; &amp; \u{fffd}[31m</product_name>\n    <major_version>12</major_version>\n    \
            <minor_version>5</minor_version>\n    <mountpoints>\n      \
            <mountpoint dev=\"/dev/sda1\">/</mountpoint>\n      <mountpoint dev=\"/dev/sda1\">/srv</mountpoint>\n    \
            </mountpoints>\n    <filesystems>\n      \
            <filesystem dev=\"/dev/sda1\">\n        <type>ext4</type>\n        <uuid>1-2</uuid>\n      </filesystem>\n    \
            </filesystems>\n    <applications>\n      <application>\n        <name>a&amp;b</name>\n        \
            <epoch>2</epoch>\n        <version>1.0</version>\n        <description>two&#10;lines</description>\n      \
            </application>\n    </applications>\n    <icon>iVBORw0K</icon>\n  </operatingsystem>\n</operatingsystems>\n";
        assert_eq!(document([&found]), expected);
        assert_eq!(document([]), "<?xml version=\"1.0\"?>\n<operatingsystems>\n</operatingsystems>\n");
    }
}
