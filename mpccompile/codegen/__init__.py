"""From a lowered graph to Python source and a package folder."""
