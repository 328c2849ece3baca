//! Named points where tests crash or fail the engine.
