//! Runs programs of the tools image.

use std::sync::Arc;

use crate::init::children::Children;
use crate::init::tools_image::ToolsImage;

/// The programs that can be run.
pub struct Tools {
    image: Option<Arc<ToolsImage>>,
    children: Option<Arc<Children>>,
}

impl Tools {
    /// Runs programs of the appliance's tools image.
    pub fn appliance(image: Arc<ToolsImage>, children: Arc<Children>) -> Tools {
        Tools { image: Some(image), children: Some(children) }
    }

    /// Runs programs of this machine, for tests.
    pub fn host() -> Tools {
        Tools { image: None, children: None }
    }

    /// Says whether programs come from the appliance's tools image.
    pub fn is_appliance(&self) -> bool {
        self.image.is_some() && self.children.is_some()
    }
}
