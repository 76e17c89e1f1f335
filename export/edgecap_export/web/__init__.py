"""A site without a server: a bundle's graphs in a browser, as a folder of plain files."""
