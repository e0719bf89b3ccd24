"""Three-way merge of databases that diverged."""
