"""The examples of the published documents, run as they are printed. Needs the folder that DRAGOMAN_DOCUMENTS names."""
