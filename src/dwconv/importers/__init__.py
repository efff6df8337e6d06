"""Model files and modules of other frameworks as graphs. Each importer needs its own optional package."""
