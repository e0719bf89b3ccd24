INSERT INTO carts (v) VALUES ('base');
