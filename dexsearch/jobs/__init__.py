"""One function per command that joins rooms; heavy libraries are imported when called."""
