"""The reference system: a gateway and three services with honest controls, and a catalogue of their defects."""
