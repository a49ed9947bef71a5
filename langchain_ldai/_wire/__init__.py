"""What goes over the wire: the names of events and their fields, and resumption tokens."""
