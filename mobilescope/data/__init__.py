"""The HDF5 session: schema, writer, reader, pairs, mosaics."""
