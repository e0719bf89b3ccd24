CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
CREATE TABLE profiles (id int PRIMARY KEY, user_id uuid REFERENCES auth.users);
