CREATE TABLE k (a text UNIQUE, b int, c text);
