//! Outside programs against ours: placeholder
